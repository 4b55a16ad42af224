-- Products by code, those that only order lines name included (`is_in_master` false).
select
    products.product_id,
    products.name,
    products.brand,
    products.category_l1,
    products.category_l2,
    products.category_l3,
    products.line,
    coalesce(products.is_service, false) as is_service,
    products.price_role,
    products.premium_tier,
    products.portion,
    products.status,
    products.launch_date,
    products.retire_date,
    products.tax_rate,
    products.is_merchandise,
    products.is_in_master,
    products.unit_cost is not null or products.has_dated_cost as has_cost,
    cast(products.margin as decimal(9, 6)) as default_margin,
    products.margin_basis,
    policy.as_of_date,
    policy.policy_version
from {{ ref('int_products') }} as products
cross join {{ ref('int_run_policy') }} as policy
